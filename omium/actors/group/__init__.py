"""A group of coordinators: several processes that hold one log, of which one leads.

seat        a process of the group: the member, and the coordinator while it leads
opening     where the disks are, and how a group is formed
renewal     who takes the place of a member whose disk was lost
peers       the streams between the members
copies      the state, copied to a member that is too far behind for the log
talk        what members say to one another
"""
