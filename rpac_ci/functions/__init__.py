"""
Drivers of runs that live in a cloud, woken by its events and by a timer; thin over `RunDriver`.

They go on with what is submitted, up to the release. They have no checkout, so they never make a
run's record; and no container engine, so they never stage. They import little: `packaging` puts
together what they need, and nothing that a terminal does.
"""
