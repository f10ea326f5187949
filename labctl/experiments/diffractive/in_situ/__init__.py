"""Phase masks trained on the bench, from fields that are measured on both ways through them."""
