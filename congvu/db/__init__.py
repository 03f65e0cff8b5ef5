"""SQL engines, the blob keeper and the schema: the only room that knows which database it talks to."""
