"""The certificate, and how it is come by."""
