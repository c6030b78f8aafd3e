"""An engine on the GPU."""
