"""Open Teams EHR connector for Cerner (Oracle Health)."""
