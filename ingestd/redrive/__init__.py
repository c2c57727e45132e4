"""Dead letters shown, mended and sent again through the sink of their pipeline."""
