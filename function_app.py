"""Azure Functions entry point: registers the blueprints, nothing else."""

import azure.functions as func

from connector import bootstrap

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
for blueprint in bootstrap.blueprints():
    app.register_functions(blueprint)
