"""The local Functions host: runs the app's registered functions on loopback as Azure does. Never deployed.

It refuses at start what it does not imitate. Sources: Microsoft Learn, "Azure Functions triggers and bindings",
"host.json reference"; the code of azure-functions-host, azure-webjobs-sdk-extensions and azure-sdk-for-net.
"""
