"""The moving parts: coordinator, agent workers, and the streams between them.

Plain classes that run in any event loop. ``ray_edge`` alone knows Ray.
"""
