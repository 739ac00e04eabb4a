"""Shards: several groups of coordinators, each with executions of its own, that look like one.

``placement`` says which shard has what, ``merging`` makes one answer of several, ``mirroring``
keeps in every shard what each must know, and ``routing`` sends every message where it belongs.
"""
