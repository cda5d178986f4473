"""This service beside what users run today: the same models, the same pictures, the same machine, in turn in one run.

library.py is the insightface library as everyone writes it; on_fastapi.py, on_litserve.py and on_serve.py put it behind three servers;
systems.py starts each of them, and this service, and asks them for a swap; load.py does so with many clients; bare.py says what the models
alone cost; run.py has them all in turn, limits.py says what must hold between them, page.py shows it.
"""
