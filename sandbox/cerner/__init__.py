"""Simulated Cerner (Oracle Health Millennium): PowerChart, the authorization server, two FHIR R4 hosts.

`fhir` and `authorization` serve; `appointments` is the scheduling desk; `powerchart` mints launches.

Bad behaviour on request: put a name into `World.mischief`; it stays until removed.

Authorization server
  denied_consent            the user refuses: redirect with access_denied
  authorize <urn>           authorize redirects with this end of a URN, such as oauth2:grant:unknown-tenant
  token <urn>               the code exchange answers invalid_grant with this end of a URN
  rotate_refresh            each refresh answers with a new refresh_token, and the old one is void
  id_token_missing          no id_token though `openid` was granted
  id_token_alg_none         unsigned
  id_token_hs256            signed with the public key as an HMAC secret
  id_token_bad_signature    signed by a key that no JWKS shows
  id_token_unknown_kid      a good signature under a kid that no JWKS shows
  id_token_wrong_aud        for another client
  id_token_wrong_iss        from an issuer elsewhere
  id_token_other_tenant     from our issuer, of another ehr tenant
  id_token_wrong_nonce      another nonce
  id_token_expired          ended an hour ago
  id_token_other_fhir_user  fhirUser under another FHIR base
  patient_proxy             fhirUser of a patient's launch is a Person who acts for the patient
  token_without_patient     a token response names no patient
  rotate_keys               before the next id_token the signing keys are replaced (once; the name is removed)
FHIR
  locked                    Appointment PATCH answers 423
  dependency                Appointment PATCH answers 424
  bad_row                   Appointment searches answer 500: one bad row fails the whole search
  malformed_entry           the first entry of Appointment searches is no valid Appointment
  malformed_json            bodies are cut in the middle
  repeat_across_pages       each next page starts with the last entry of the page before
"""
