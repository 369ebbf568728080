"""What the model itself shows: traversals, random images, and what its latents mean."""
