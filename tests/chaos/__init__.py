"""The long version of the fault tests: processes that record and learn under every fault at once, then a count.

========== ==============================================================================
crew       the processes, killed and replaced; each runs `process`, which makes `traffic`
journal    records acknowledged to each of them
faults     faults of processes and server; `monkey` decides when
check      compares the journals with the database, and the live state with a rebuild
========== ==============================================================================
"""
