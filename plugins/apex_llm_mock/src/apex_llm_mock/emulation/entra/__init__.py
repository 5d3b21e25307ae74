"""Microsoft Entra ID and managed identity on loopback: they issue the tokens that the Azure emulator takes."""
