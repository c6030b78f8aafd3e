"""What the measurements are taken on."""
