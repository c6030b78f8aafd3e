"""Networks that stand for your own, in the documentation's examples; the tests run them."""
