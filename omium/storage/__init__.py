"""What lies on disk and in object stores: replicas, blobs, checkpoints and history."""
