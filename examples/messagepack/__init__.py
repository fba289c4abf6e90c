"""MessagePack in binary frames: an envelope of the app's own, and sensors that send raw samples."""
