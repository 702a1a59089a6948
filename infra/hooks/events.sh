#!/bin/sh
# After the code is there: replies and receipts of Communication Services. In the Americas only, for the topic is global
# and its events may be kept in any geography for a while.
set -eu
[ "${CONNECTOR_REGION:?}" = americas ] || exit 0
# the functions that were just deployed take a moment to be listed
tries=0
until az deployment group create --resource-group "${AZURE_RESOURCE_GROUP:?}" --name events --output none \
    --template-file "$(dirname "$0")/../events.bicep" \
    --parameters communicationName="${CONNECTOR_COMMUNICATION:?}" appName="${CONNECTOR_APP:?}"; do
    tries=$((tries + 1))
    [ "$tries" -lt 5 ] || exit 1
    sleep "${RETRY_S:-30}"
done
