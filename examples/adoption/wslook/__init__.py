"""The app of Falcon's WebSocket tutorial, before and after the library."""
