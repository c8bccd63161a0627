"""The engine: a bounded queue, a thread for each device that owns its models, batches, progress, cancelling.

engine.py      the front that any thread may call
requests.py    what may be requested; ticket.py, progress.py   what the caller gets back
waiting.py     the bounded queue; batching.py   which requests share a call, and how its result is taken apart
worker.py      the thread of one device; models.py   its models, within a budget of memory
perform.py     how each kind of request is carried out on a pipeline; preview.py   a look at unfinished images
"""
