"""The routes of the contract and ours, on one screen."""

from __future__ import annotations

from starlette.routing import Route

from serve_app.api.detect import Detect
from serve_app.api.docs import Docs
from serve_app.api.fetch import Fetch
from serve_app.api.hooks import HookRoutes
from serve_app.api.pictures import Pictures
from serve_app.api.rate import Rates
from serve_app.api.service import Service
from serve_app.api.state import State
from serve_app.api.submit import Submit
from serve_app.api.tasks import Tasks


def routes(service: Service, rates: Rates) -> list[Route]:
    fetch = Fetch(service)
    submit, detect = Submit(service, rates, fetch), Detect(service, rates, fetch)
    tasks, pictures, state, hooks = Tasks(service), Pictures(service), State(service), HookRoutes(service)
    return [
        Route("/mj/insight-face/swap", submit.swap, methods=["POST"]),
        Route("/mj/insight-face/detect", detect.faces, methods=["POST"]),
        Route("/mj/task/list-by-condition", tasks.listed, methods=["POST"]),
        Route("/mj/task/list-by-ids", tasks.listed, methods=["POST"]),
        Route("/mj/task/queue", tasks.queue, methods=["GET"]),
        Route("/mj/task/list", tasks.newest, methods=["GET"]),
        Route("/mj/task/query", tasks.query, methods=["POST"]),
        Route("/mj/task/{id}/fetch", tasks.fetch, methods=["GET"]),
        Route("/mj/task/{id}/cancel", tasks.cancel, methods=["POST"]),
        Route("/mj/task/{id}/image-seed", tasks.image_seed, methods=["GET"]),
        Route("/mj/task/{id}", tasks.delete, methods=["DELETE"]),
        Route("/mj/task-admin/query", tasks.admin_query, methods=["POST"]),
        Route("/mj/task-admin/{id}/fetch", tasks.admin_fetch, methods=["GET"]),
        Route("/mj/task-admin/hooks", hooks.listed, methods=["GET"]),
        Route("/mj/task-admin/hooks/resend", hooks.resend, methods=["POST"]),
        Route("/mj/task-admin/hooks/{id}", hooks.shown, methods=["GET"]),
        Route("/mj/image/{name}", pictures.picture, methods=["GET"]),
        Route("/health", state.health, methods=["GET"]),
        Route("/ready", state.ready, methods=["GET"]),
        *Docs().table(),
    ]
