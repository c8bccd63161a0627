"""The HTTP API: a thin front of the jobs (`serving.jobs`), with keys, limits, and a schema derived from the options.

app.py       the application: what is put together, its life
settings.py  what an operator chooses; keys.py   who may ask, how much
bodies.py    what may be sent; views.py   what is answered; problems.py   errors as answers
uploads.py   a request's body, read within bounds; routes.py, job_routes.py, info_routes.py   the addresses
service.py   what they share; access.py, guard.py   what stands before them; run.py   the process
page_mount.py   the page at /page, built when the models are ready
events.py    a job until its end, as server-sent events or one answer; metrics.py   for Prometheus
"""
