"""Values of every format as JSON text, by the schemas that wrote them."""
