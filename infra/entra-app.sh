#!/bin/sh
# Makes or updates the stamp's app registration in Microsoft Entra ID, in the operator's own tenant. Run it twice: before
# the first `azd up` it prints the client id; after it, with the stamp's URL and identity, it adds what depends on them.
#   infra/entra-app.sh NAME [URL IDENTITY_PRINCIPAL_ID]
# Needs az, signed in as Application Administrator or higher. No secret is made: the stamp's identity is the credential.
set -eu
name=${1:?name of the app registration}
url=${2:-}
principal=${3:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
graph=00000003-0000-0000-c000-000000000000

app=$(az ad app list --filter "displayName eq '$name'" --query '[].appId' -o tsv)
[ "$(printf '%s\n' "$app" | wc -l)" -eq 1 ] || { echo "Several registrations are called $name: rename one." >&2; exit 1; }
[ -n "$app" ] || app=$(az ad app create --display-name "$name" --sign-in-audience AzureADMultipleOrgs --query appId -o tsv)
object=$(az ad app show --id "$app" --query id -o tsv)

# Application permissions; why each is needed: docs/operations.md. A hospital's administrator consents to them.
resources=
for permission in OnlineMeetings.ReadWrite.All OnlineMeetings.Read.All VirtualAppointment.Read.All \
    User.Read.All Organization.Read.All LicenseAssignment.Read.All; do
    id=$(az ad sp show --id $graph --query "appRoles[?value=='$permission'].id" -o tsv)
    [ -n "$id" ] || { echo "Microsoft Graph has no permission $permission" >&2; exit 1; }
    resources="$resources${resources:+,}{\"id\":\"$id\",\"type\":\"Role\"}"
done

# The ids of our own roles are constants: automation and hospitals are assigned to them.
cat >"$work/app.json" <<JSON
{
  "identifierUris": ["api://$app"],
  "groupMembershipClaims": "DirectoryRole",
  "optionalClaims": {"idToken": [{"name": "auth_time", "essential": false}]},
  "api": {"requestedAccessTokenVersion": 2},
  "requiredResourceAccess": [{"resourceAppId": "$graph", "resourceAccess": [$resources]}],
  "appRoles": [
    {"id": "5f0f9f53-7d8f-4f0e-9a53-0f7f4f4f7c01", "value": "Connector.Configure", "displayName": "Configure video visits",
     "description": "May read and change the configuration.", "isEnabled": true, "allowedMemberTypes": ["User", "Application"]},
    {"id": "5f0f9f53-7d8f-4f0e-9a53-0f7f4f4f7c02", "value": "Connector.Read", "displayName": "Read video visits",
     "description": "May read the configuration and the status.", "isEnabled": true, "allowedMemberTypes": ["User", "Application"]}
  ]$([ -z "$url" ] || printf ',\n  "web": {"homePageUrl": "%s", "redirectUris": ["%s/signin/callback", "%s/portal/callback"]}' "$url" "$url" "$url")
}
JSON
az rest --method patch --url "https://graph.microsoft.com/v1.0/applications/$object" --output none \
    --headers 'Content-Type=application/json' --body "@$work/app.json"
az ad sp show --id "$app" --output none 2>/dev/null || az ad sp create --id "$app" --output none

if [ -n "$principal" ]; then
    tenant=$(az account show --query tenantId -o tsv)
    present=$(az ad app federated-credential list --id "$object" --query "[?subject=='$principal'].id" -o tsv)
    cat >"$work/credential.json" <<JSON
{"name": "stamp-$principal", "issuer": "https://login.microsoftonline.com/$tenant/v2.0", "subject": "$principal",
 "audiences": ["api://AzureADTokenExchange"], "description": "The managed identity of the stamp"}
JSON
    [ -n "$present" ] || az ad app federated-credential create --id "$object" --parameters "@$work/credential.json" --output none
fi
echo "$app"
