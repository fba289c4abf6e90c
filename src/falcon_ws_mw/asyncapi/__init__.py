"""The AsyncAPI 3.0 document of an app, and a page to read it."""
