"""The words of the checks of a FHIR base URL, in English."""

from __future__ import annotations

from connector.checks.finding import NOT_ASKED, Finding, Named

_ADDRESS = {
    "not_public": Finding(
        "fail", "you",
        "The name leads, directly or by a redirect, to an address that is private, reserved or otherwise not on the "
        "public internet.",
        "Use the public FHIR base URL of your Cerner domain. This service never connects into private networks.",
    ),
    "bad_redirect": Finding(
        "fail", "oracle", "The server redirects to something that is not a plain https address.",
        "Ask Oracle which FHIR base URL is meant; enter that one.",
    ),
    "unreachable": Finding(
        "fail", "you", "No server could be reached under this name.",
        "Compare the address with the one that Oracle gave you. If it is right, try again in a few minutes.",
    ),
    "certificate": Finding(
        "fail", "oracle", "The server's certificate does not prove its name.",
        "Compare the address with the one that Oracle gave you; if it is right, tell Oracle.",
    ),
}  # fmt: skip
_ANSWER = {
    "busy": Finding(
        "fail", "oracle", "The server is overloaded or down at the moment (HTTP status %(status)s).",
        "Check again in a few minutes. If nothing changes, tell Oracle.",
    ),
    "slow": Finding(
        "fail", "oracle", "The server did not finish its answer in time.",
        "Check again in a few minutes. If nothing changes, tell Oracle.",
    ),
    "too_large": Finding(
        "fail", "you", "The answer is larger than any that a FHIR server gives here.",
        "Compare the address with the one that Oracle gave you: this does not look like a FHIR server.",
    ),
    "not_asked": NOT_ASKED,
}  # fmt: skip
_NETWORK = {**_ADDRESS, **_ANSWER}

FHIR: dict[str, Named] = {
    "fhir.address": Named("Address", {
        "reached": Finding("pass", "", "The server at %(host)s answers."),
        "malformed": Finding(
            "fail", "you", "This is not a web address.",
            "Enter the FHIR base URL as Oracle gave it to you: https://fhir-ehr.cerner.com/r4/ and your tenant's id.",
        ),
        "not_https": Finding(
            "fail", "you", "The address does not begin with https://.", "Enter the https address of the same server.",
        ),
        **_ADDRESS,
    }),
    "fhir.metadata": Named("FHIR version", {
        "r4": Finding("pass", "", "The server speaks FHIR R4 (%(version)s)."),
        "dstu2": Finding(
            "fail", "you", "The server speaks FHIR DSTU2 (%(version)s), which is too old.",
            "Enter the R4 base URL of the same domain; with Cerner it has /r4/ in its path.",
        ),
        "stu3": Finding(
            "fail", "you", "The server speaks FHIR STU3 (%(version)s), which is too old.",
            "Enter the R4 base URL of the same domain.",
        ),
        "r5": Finding(
            "fail", "you", "The server speaks FHIR R5 (%(version)s), which this service does not know.",
            "Enter the R4 base URL of the same domain.",
        ),
        "other_version": Finding(
            "fail", "you", "The server speaks another version of FHIR than R4 4.0.1.",
            "Enter the R4 base URL of the same domain.",
        ),
        "not_fhir": Finding(
            "fail", "you", "A server answers, but not as a FHIR server does.",
            "Compare the address with the one that Oracle gave you. It ends with the tenant's id, not with /metadata.",
        ),
        "refused": Finding(
            "fail", "you", "The server refuses to say what it can do (HTTP status %(status)s).",
            "Compare the address with the one that Oracle gave you: Cerner answers so for a tenant that it does not "
            "know.",
        ),
        **_ANSWER,
    }),
    "fhir.appointment": Named("Appointments", {
        "offered": Finding("pass", "", "Appointments can be read, searched and changed."),
        "read_only": Finding(
            "warn", "oracle", "Appointments can be read and searched, but not changed.",
            "Only needed to write the visit's link back into Cerner. Ask Oracle if you want that.",
        ),
        "missing": Finding(
            "fail", "oracle", "Appointments lack what visits are found by: %(missing)s.",
            "Ask Oracle to enable the FHIR R4 Appointment resource for your domain; that needs Millennium of November "
            "2018 or later.",
        ),
        "not_asked": NOT_ASKED,
    }),
    "fhir.patient": Named("Patients", {
        "offered": Finding("pass", "", "Patients can be read and searched."),
        "missing": Finding(
            "fail", "oracle", "Patients lack: %(missing)s.",
            "Ask Oracle to enable the FHIR R4 Patient resource for your domain.",
        ),
        "not_asked": NOT_ASKED,
    }),
    "smart.configuration": Named("SMART configuration", {
        "published": Finding("pass", "", "The server names its authorization server at %(host)s."),
        "oauth_uris": Finding(
            "warn", "oracle",
            "The authorization server is named only in the old way (oauth-uris), which names no keys. Texts work; a "
            "launch from the chart cannot be verified.",
            "Ask Oracle to publish a SMART configuration for your domain.",
        ),
        "no_keys": Finding(
            "fail", "oracle", "The SMART configuration names no keys (jwks_uri), so no launch can be verified.",
            "Ask Oracle to publish the complete SMART configuration for your domain.",
        ),
        "missing": Finding(
            "fail", "oracle", "The server names no authorization server.",
            "Use the base URL for providers, not the open one for developers; otherwise ask Oracle.",
        ),
        "unreadable": Finding(
            "fail", "oracle", "The SMART configuration cannot be read.", "Tell Oracle, or check again later.",
        ),
        "refused": Finding(
            "fail", "oracle", "The server refuses to show its SMART configuration (HTTP status %(status)s).",
            "Tell Oracle, or check again later.",
        ),
        **_NETWORK,
    }),
    "smart.authentication": Named("Client authentication", {
        "supported": Finding("pass", "", "The authorization server accepts %(method)s."),
        "not_stated": Finding(
            "warn", "oracle", "The authorization server does not say whether it accepts %(method)s.",
            "Nothing to do if the next check passes.",
        ),
        "unsupported": Finding(
            "fail", "you", "The authorization server does not accept %(method)s, only: %(offered)s.",
            "Choose another client authentication for this connection.",
        ),
        "not_asked": NOT_ASKED,
    }),
    "smart.pkce": Named("PKCE", {
        "advertised": Finding("pass", "", "PKCE with S256 is advertised."),
        "not_advertised": Finding(
            "warn", "oracle",
            "PKCE is not advertised. It is used all the same: Cerner accepts it also where it does not say so.",
            "Nothing to do as long as launches work.",
        ),
        "not_asked": NOT_ASKED,
    }),
    "system.token": Named("System account", {
        "granted": Finding("pass", "", "The system account was given a token."),
        "unlisted": Finding(
            "fail", "operator",
            "There are no credentials for this FHIR base URL: the operator has not listed it for your organization, "
            "and the connection has none of its own.",
            "Ask the operator of this service to list it for your organization, or enter credentials of your own.",
        ),
        "switched_off": Finding(
            "warn", "you", "The connection is switched off, so nothing is asked of Cerner.", "Switch it on again.",
        ),
        "own_refused": Finding(
            "fail", "you", "The authorization server does not accept your own client id, secret or key.",
            "Compare the connection's credentials with the application's registration in the Oracle Health code "
            "Console.",
        ),
        "client_refused": Finding(
            "fail", "operator", "The authorization server does not accept the service's client id, secret or key.",
            "Ask the operator to compare the system application with its registration in the Oracle Health code "
            "Console, and you to compare the client authentication of this connection.",
        ),
        "key_away": Finding(
            "fail", "operator", "The service's signing key did not answer, so Cerner was not asked.",
            "Check again in a minute; if it stays so, tell the operator of this service.",
        ),
        "key_refused": Finding(
            "fail", "operator", "The service may not use its signing key, so Cerner was not asked.",
            "Tell the operator of this service: make doctor says why.",
        ),
        "not_enabled": Finding(
            "fail", "oracle",
            "The application is known but was granted nothing here: it is not enabled for your domain yet, or is "
            "registered for the other form of scopes (%(version)s was asked for).",
            "Ask Oracle to enable the system application for your domain. A change takes 10 to 15 minutes to arrive.",
        ),
        "refused": Finding(
            "fail", "oracle", "The authorization server refuses a token.",
            "Check again later; if nothing changes, tell Oracle the time and the name of this check.",
        ),
        **_NETWORK,
    }),
    "system.scopes": Named("Granted scopes", {
        "granted": Finding("pass", "", "Everything that was asked for was granted."),
        "trimmed": Finding(
            "fail", "oracle", "These scopes were silently left out: %(missing)s.",
            "Ask Oracle to add them to the system application for your domain. A change takes 10 to 15 minutes to "
            "arrive.",
        ),
        "not_asked": NOT_ASKED,
    }),
    "fhir.locations": Named("Departments' locations", {
        "known": Finding("pass", "", "Cerner knows all %(count)s locations of the departments."),
        "unknown": Finding(
            "fail", "you", "Cerner does not know these location ids: %(missing)s.",
            "Compare them with the list that Oracle or your Cerner team gave you.",
        ),
        "none": Finding(
            "warn", "you", "No department has a location yet, so no visit can be found.",
            "Add the departments that hold video visits.",
        ),
        "refused": Finding(
            "warn", "oracle", "Locations could not be read, so their ids could not be checked.",
            "Ask Oracle to allow the system application to read locations.",
        ),
        **_NETWORK,
    }),
    "fhir.schedule": Named("Schedule", {
        "read": Finding("pass", "", "The schedule of the next hour was read: %(count)s appointments."),
        "incomplete": Finding(
            "warn", "oracle",
            "The schedule of the next hour was read in part: %(count)s appointments, and some that cannot be read.",
            "The other visits are served. If nothing changes, tell Oracle.",
        ),
        "refused": Finding(
            "fail", "oracle", "The system account may not search appointments.",
            "Ask Oracle to enable appointment search for the system application in your domain.",
        ),
        **_NETWORK,
    }),
    "patient.base": Named("Patient FHIR base URL", {
        "published": Finding("pass", "", "Patients can launch from their portal at %(host)s."),
        "none": Finding("pass", "", "None is set, so there is no launch from the patient portal. Texts need none."),
        "same": Finding(
            "fail", "you", "It is the same as the one for providers.",
            "Enter Cerner's base URL for patients (fhir-myrecord), or leave it empty.",
        ),
        "other_tenant": Finding(
            "fail", "you", "It ends with another tenant id than the base URL for providers.",
            "Both must belong to one Cerner domain.",
        ),
        "malformed": Finding(
            "fail", "you", "This is not an https web address.", "Enter it as Oracle gave it to you, or leave it empty.",
        ),
        "missing": Finding(
            "fail", "you", "No SMART configuration is published there.",
            "Compare the address with the one that Oracle gave you.",
        ),
        **_NETWORK,
    }),
    "base.duplicate": Named("Used once", {
        "only": Finding("pass", "", "No other connection uses this FHIR base URL."),
        "here": Finding(
            "fail", "you", "Your connection “%(name)s” has this FHIR base URL already.",
            "Change that connection instead of adding another.",
        ),
        "elsewhere": Finding(
            "warn", "you", "Another organization of this service uses this FHIR base URL too.",
            "Right for hospitals that share a Cerner domain. If yours does not, tell the operator.",
        ),
    }),
    "environment": Named("Test or production", {
        "plausible": Finding("pass", "", "The address fits the chosen environment."),
        "looks_like_test": Finding(
            "warn", "you", "%(host)s is a host for test domains, but production was chosen.",
            "Choose test, or enter the production base URL. After a wrong choice patients get no texts, or testers get "
            "them.",
        ),
        "looks_like_production": Finding(
            "warn", "you", "%(host)s is Cerner's production host, but test was chosen.",
            "Choose production, unless Oracle hosts your test domain there.",
        ),
        "patient_host": Finding(
            "fail", "you", "%(host)s is Cerner's host for patients.",
            "Enter the base URL for providers here (fhir-ehr); this one belongs in the field for patients.",
        ),
    }),
    "release": Named("Cerner release", {
        "confirmed": Finding("pass", "", "You confirmed that it is November 2018 or later."),
        "unconfirmed": Finding(
            "warn", "you", "Cerner does not say its release; it must be November 2018 or later.",
            "Ask your Cerner team, then tick it.",
        ),
    }),
}  # fmt: skip
