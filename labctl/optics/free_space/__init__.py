"""Light in free space: hops, masks, panels and the planes of a bench made of them."""
