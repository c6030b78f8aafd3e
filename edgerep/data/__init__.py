"""The user's images, and what is done to them."""
