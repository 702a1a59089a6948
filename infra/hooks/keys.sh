#!/bin/sh
# After provisioning: gives a new stamp the keys that only it may know. What is there is never overwritten, for losing a
# wrapping key is losing every opt-out. Values go from a file to the vault: never on a command line, never printed.
set -eu
umask 077
vault=${CONNECTOR_VAULT:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# the role on the vault that was just assigned takes some minutes to be known
tries=0
until az keyvault secret list --vault-name "$vault" --query '[].name' -o tsv >/dev/null 2>"$work/log"; do
    tries=$((tries + 1))
    [ "$tries" -lt 20 ] || { cat "$work/log" >&2; exit 1; }
    sleep "${RETRY_S:-15}"
done

symmetric() { printf '%s:%s' "$(date -u +%Y-%m-%d)" "$(head -c 32 /dev/urandom | base64 | tr -d '\n=' | tr '/+' '_-')"; }
# Graph encrypts notifications for this certificate; nobody else sees it, so it may sign itself
certificate() {
    openssl req -x509 -newkey rsa:3072 -nodes -days 400 -subj /CN=connector \
        -keyout "$work/key" -out "$work/certificate" 2>"$work/log"
    cat "$work/key" "$work/certificate"
}

give() { # name, how it is made, days until somebody should be told to rotate it
    # a listing tells "not there" from "cannot be read": only the first may make a key
    listed=$(az keyvault secret list --vault-name "$vault" --query "[?name=='$1'].name" -o tsv)
    [ -z "$listed" ] || return 0
    deleted=$(az keyvault secret list-deleted --vault-name "$vault" --query "[?name=='$1'].name" -o tsv)
    if [ -n "$deleted" ]; then
        echo "$1 was deleted: recover it with az keyvault secret recover, do not make another." >&2
        exit 1
    fi
    "$2" >"$work/value"
    az keyvault secret set --vault-name "$vault" --name "$1" --file "$work/value" --output none \
        --expires "$(python3 -c 'import sys, time; print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400 * int(sys.argv[1]))))' "$3")"
    echo "Made $1 in $vault. Back it up now: docs/operations.md, \"Backing up\"."
}

give connector-sealing-keys symmetric 365
give connector-wrapping-keys symmetric 365
give graph-notification-certificates certificate 365

# references that could not be resolved are otherwise tried again only after hours
app=$(az resource show --resource-group "${AZURE_RESOURCE_GROUP:?}" --resource-type Microsoft.Web/sites \
    --name "${CONNECTOR_APP:?}" --query id -o tsv)
az rest --method post --output none \
    --url "https://management.azure.com$app/config/configreferences/appsettings/refresh?api-version=2022-03-01"
