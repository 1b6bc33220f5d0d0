"""The long version of the fault tests: processes that record and learn under every fault at once, then a count.

========== ==============================================================================
crew       the processes, killed and replaced; each runs `process`, which makes `traffic`
journal    what each of them was promised: the accounts
faults     what is done to them and to the server; `monkey` decides when
check      compares the accounts with the database, and the live state with a rebuild
========== ==============================================================================
"""
