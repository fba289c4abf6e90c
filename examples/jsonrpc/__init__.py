"""JSON-RPC 2.0 over WebSocket: an envelope of the app's own, and shared to-do lists behind it."""
