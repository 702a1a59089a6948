"""The hospitals and everybody in them: invented people with distinctive values.

Every id has at least eight digits and every name, number and date occurs nowhere else, so a test can search
storage and logs for them. All telephone numbers are valid in their country's plan.
"""

from __future__ import annotations

from sandbox.world import Clinician, Department, EntraUser, Hospital, Person

GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
"""The template id of Entra's Global Administrator role, as it stands in the `wids` claim."""

_HARBOR_DOMAIN = "harborvalley.example"
_NORDLYS_DOMAIN = "nordlysklinik.example"
_CEDAR_DOMAIN = "cedarridge.example"

HARBOR = Hospital(
    key="harbor",
    name="Harbor Valley Health",
    region="americas",
    time_zone="America/Chicago",
    contact_phone="+13122346700",
    tid="7c1e2a54-93b8-4f0d-8a6e-51d2b7f0c394",
    ehr_tenant="b3f8d61c-27a4-4e95-9d10-6ac4e87f5b22",
    scopes_version="v1",
    client_authentication="client_secret_basic",
    sender_kind="phone_number",
    sender_value="+18005550100",
    video_visit_types=("2581740933", "2581740967"),
    departments=(
        Department("Family Medicine", ("21570461", "21570462"), "America/Chicago"),
        Department("Cardiology", ("21583917", "21583918"), "America/Chicago", configured=False),
        Department("Occupational Health", ("21596053",), "America/Chicago", configured=False),
    ),
    clinicians=(
        Clinician("okafor", "12994107", "adokafor3", "Okaforth", "Adaeze",
                  "0d4f7a91-6b2c-4e38-9f15-a7c3d8e20b61", f"adaeze.okaforth@{_HARBOR_DOMAIN}"),
        Clinician("lindqvist", "12994238", "tlindqui5", "Lindquille", "Tobin",
                  "18a5c2e7-40fd-4b96-83e1-f92d6b7a0c54", f"tobin.lindquille@{_HARBOR_DOMAIN}"),
        Clinician("marwood", "12994359", "pmarwoo8", "Marwoode", "Petra",
                  "2e91b6d0-f7c4-4a53-b208-6d1f3e95c7a8", f"petra.marwoode@{_HARBOR_DOMAIN}"),
    ),
    users=(
        EntraUser("admin", "3f6c8d12-a95e-4b70-8c43-e07d2f1b9a65", f"it.admin@{_HARBOR_DOMAIN}",
                  "Harbor Administrator", wids=(GLOBAL_ADMINISTRATOR,)),
        EntraUser("ordinary", "4a07e5b3-c81d-49f2-a6d4-95b3c2f70e18", f"front.desk@{_HARBOR_DOMAIN}",
                  "Harbor Front Desk"),
    ),
    organizers=(
        EntraUser("organizer1", "5b18f6c4-d92e-4a03-b7e5-06c4d3a81f29", f"visits1@{_HARBOR_DOMAIN}",
                  "Harbor Valley Visits 1"),
        EntraUser("organizer2", "6c29a7d5-e03f-4b14-88f6-17d5e4b92a30", f"visits2@{_HARBOR_DOMAIN}",
                  "Harbor Valley Visits 2"),
    ),
    patients=(
        Person("mira", "13207741", "60043187", "Testonby", "Mirabelka", "1984-05-06", "+13125552348",
               "+13122346781", "+13129875521", "mirabelka.t84@patientmail.example", "en", "female"),
        Person("rafael", "13207852", "60043298", "Quintaval", "Rafaelo", "1957-11-23", "+13127714063",
               "+13127714064", "+13127714065", "rquintaval57@patientmail.example", "es", "male"),
        Person("odette", "13207963", "60043309", "Brackenshaw", "Odettine", "1991-02-17", "+17736028194",
               "+17736028195", "+17736028196", "odettine.b91@patientmail.example", "en", "female"),
        Person("hollis", "13208074", "60043410", "Vanterpoole", "Hollister", "1949-08-30", "+18477350926",
               "+18477350927", "+18477350928", "hvanterpoole49@patientmail.example", "en", "male"),
        Person("suri", "13208185", "60043521", "Dhawanika", "Suriyana", "2001-12-09", "+16304172859",
               "+16304172860", "+16304172861", "suriyana.d01@patientmail.example", "en", "female"),
    ),
)

NORDLYS = Hospital(
    key="nordlys",
    name="Nordlys Klinik",
    region="emea",
    time_zone="Europe/Copenhagen",
    contact_phone="+4533746100",
    tid="8d2f3b65-04c9-4a1e-9b7f-62e3c8a1d405",
    ehr_tenant="-Kz7Vw_QpX3mTn8RbY5cJhF2sLdSdi12",
    scopes_version="v2",
    client_authentication="private_key_jwt",
    sender_kind="alphanumeric",
    sender_value="Nordlys",
    video_visit_types=("3692851044", "3692851078"),
    departments=(
        Department("Almen Medicin", ("34681572", "34681573"), "Europe/Copenhagen"),
        Department("Reumatologi", ("34694028", "34694029"), "Europe/Copenhagen", configured=False),
        Department("Arbejdsmedicin", ("34607164",), "Europe/Copenhagen", configured=False),
    ),
    clinicians=(
        Clinician("holmgaard", "45105218", "fholmga2", "Holmgaarden", "Freja",
                  "7d3ab8e6-f140-4c25-89a7-28e6f5ca3b41", f"freja.holmgaarden@{_NORDLYS_DOMAIN}"),
        Clinician("riisager", "45105349", "mriisag4", "Riisagerup", "Magnus",
                  "8e4bc9f7-0251-4d36-9ab8-39f706db4c52", f"magnus.riisagerup@{_NORDLYS_DOMAIN}"),
        Clinician("skovbo", "45105460", "askovbo9", "Skovbolund", "Astrid",
                  "9f5cda08-1362-4e47-8bc9-4a0817ec5d63", f"astrid.skovbolund@{_NORDLYS_DOMAIN}"),
    ),
    users=(
        EntraUser("admin", "a06deb19-2473-4f58-9cda-5b1928fd6e74", f"it.admin@{_NORDLYS_DOMAIN}",
                  "Nordlys Administrator", wids=(GLOBAL_ADMINISTRATOR,)),
        EntraUser("ordinary", "b17efc2a-3584-4069-8deb-6c2a390e7f85", f"reception@{_NORDLYS_DOMAIN}",
                  "Nordlys Reception"),
    ),
    organizers=(
        EntraUser("organizer1", "c28f0d3b-4695-417a-9efc-7d3b4a1f8096", f"besog1@{_NORDLYS_DOMAIN}",
                  "Nordlys Besøg 1"),
        EntraUser("organizer2", "d3901e4c-57a6-428b-8f0d-8e4c5b2091a7", f"besog2@{_NORDLYS_DOMAIN}",
                  "Nordlys Besøg 2"),
    ),
    patients=(
        Person("karoline", "46318852", "71154298", "Ulvedalsen", "Karolinne", "1978-03-14", "+4520481357",
               "+4538204117", "+4531927465", "karolinne.u78@patientpost.example", "da", "female"),
        Person("jens", "46318963", "71154309", "Bjerregaardt", "Jensfred", "1952-09-27", "+4542718396",
               "+4538204228", "+4561573820", "jbjerregaardt52@patientpost.example", "da", "male"),
        Person("greta", "46319074", "71154410", "Wintersteiner", "Gretalinde", "1969-07-03", "+4526930418",
               "+4538204339", "+4526930419", "gretalinde.w69@patientpost.example", "de", "female"),
        Person("soren", "46319185", "71154521", "Møllehøjgaard", "Sørenius", "1995-01-29", "+4528164705",
               "+4538204441", "+4528164706", "sorenius.m95@patientpost.example", "da", "male"),
        Person("amelie", "46319296", "71154632", "Cartwrighton", "Ameliora", "1988-10-12", "+4530472918",
               "+4538204552", "+4530472919", "ameliora.c88@patientpost.example", "en", "female"),
    ),
)

CEDAR = Hospital(
    key="cedar",
    name="Cedar Ridge Clinic",
    region="americas",
    time_zone="America/Denver",
    contact_phone="+17206280140",
    tid="b7a90e34-2c5d-4f68-81e3-d04c9a6f7b12",
    ehr_tenant="c9d41f70-8e2b-4a63-b5f8-37a06d9ce481",
    scopes_version="v1",
    client_authentication="client_secret_basic",
    sender_kind="phone_number",
    sender_value="",
    video_visit_types=("2581749611", "2581749645"),
    departments=(
        Department("Primary Care", ("21670138", "21670139"), "America/Denver"),
        Department("Dermatology", ("21683504", "21683505"), "America/Denver"),
        Department("Laboratory", ("21695720",), "America/Denver", configured=False),
    ),
    clinicians=(
        Clinician("varga", "13094551", "ivarga27", "Vargashazy", "Ilonka",
                  "e7c1d05a-9b34-4f82-a6d7-15f08c3b92e4", f"ilonka.vargashazy@{_CEDAR_DOMAIN}"),
        Clinician("bello", "13094662", "sbello92", "Bellowayo", "Segunda",
                  "f8d2e16b-0c45-4093-87e8-2601ad4c03f5", f"segunda.bellowayo@{_CEDAR_DOMAIN}"),
        Clinician("thorne", "13094773", "mthorn46", "Thornequist", "Maelle",
                  "09e3f27c-1d56-41a4-98f9-3712be5d1406", f"maelle.thornequist@{_CEDAR_DOMAIN}"),
    ),
    users=(
        EntraUser("admin", "1af4038d-2e67-42b5-a90a-4823cf6e2517", f"it.admin@{_CEDAR_DOMAIN}",
                  "Cedar Administrator", wids=(GLOBAL_ADMINISTRATOR,)),
        EntraUser("second", "2b05149e-3f78-43c6-ba1b-5934d07f3628", f"second.admin@{_CEDAR_DOMAIN}",
                  "Cedar Second Administrator", roles=("Connector.Configure",)),
        EntraUser("ordinary", "3c1625af-4089-44d7-8b2c-6a45e1804739", f"front.desk@{_CEDAR_DOMAIN}",
                  "Cedar Front Desk"),
    ),
    organizers=(
        EntraUser("organizer1", "4d2736b0-519a-45e8-9c3d-7b56f291584a", f"visits1@{_CEDAR_DOMAIN}",
                  "Cedar Ridge Visits 1"),
    ),
    patients=(
        Person("marisol", "13308126", "60154028", "Echevallo", "Marisolina", "1979-04-12", "+17206280163",
               "+17206280164", "+17206280165", "marisolina.e79@patientmail.example", "es", "female"),
        Person("desmond", "13308237", "60154139", "Fairbrother", "Desmondo", "1963-10-08", "+13034710172",
               "+13034710173", "+13034710174", "dfairbrother63@patientmail.example", "en", "male"),
        Person("noor", "13308348", "60154240", "Haddadine", "Noorjahan", "1994-07-21", "+13034710181",
               "+13034710182", "+13034710183", "noorjahan.h94@patientmail.example", "en", "female"),
        Person("walter", "13308459", "60154351", "Kensingworth", "Walterius", "1951-01-30", "+17206280190",
               "+17206280191", "+17206280192", "walterius.k51@patientmail.example", "en", "male"),
        Person("tamika", "13308570", "60154462", "Lockhartson", "Tamikala", "1986-12-05", "+17206280136",
               "+17206280137", "+17206280138", "tamikala.l86@patientmail.example", "en", "female"),
    ),
    connected=False,
)
"""Listed by the operator and nothing more: its administrator connects it in the portal."""

HOSPITALS: tuple[Hospital, ...] = (HARBOR, NORDLYS)
"""Connected when the sandbox starts."""
EVERYBODY = (*HOSPITALS, CEDAR)
