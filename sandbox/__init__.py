"""The simulated hospital: loopback stand-ins for Cerner, Entra, Graph, Teams and Azure Communication Services."""
