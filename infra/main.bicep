// One stamp: everything that one deployment of the connector needs in one region.
// What each parameter means to an operator, and where its value comes from: docs/operations.md.
targetScope = 'subscription'

@description('Name of the deployment; part of the name of the resource group.')
@minLength(2)
@maxLength(20)
param environmentName string

@description('Geography in which all data of the stamp\'s tenants stays, for ever.')
@allowed(['americas', 'emea', 'apac'])
param region string

@description('Azure location; must be one of the region\'s own, listed in locations.json.')
@metadata({ azd: { type: 'location' } })
param location string

@description('JSON: each Microsoft tenant id and the FHIR base URLs for which the stamp\'s EHR credentials may be used.')
param tenants string

@description('Origin of every link given out, such as https://visits.example.org. Empty: the app\'s own host name.')
param publicUrl string = ''

@description('Application (client) id of the Entra app registration.')
param entraClientId string

@description('Client ids of the three applications in the Oracle Health code Console.')
param smartProviderClientId string
param smartPatientClientId string
param smartSystemClientId string

@description('How the stamp\'s EHR applications authenticate: by a key that never leaves the vault, by secrets in it, or both.')
@allowed(['secret', 'key', 'both'])
param ehrAuthentication string = 'key'

@description('Also gives the app the private keys of the secret smart-private-keys. They CAN BE COPIED: for the day in which a stamp changes to the vault\'s key.')
param exportableSigningKeys bool = false

@description('SMART scope version of connections that name none.')
@allowed(['v1', 'v2'])
param smartScopesVersion string = 'v1'

@description('Version of Graph for subscriptions to meetings\' call events.')
@allowed(['beta', 'v1.0'])
param graphSubscriptionsVersion string = 'beta'

@description('Who is told of alerts.')
@minLength(1)
param alertEmails array

@description('Domain that e-mail to patients comes from. Empty: a domain of Azure\'s, for trials only.')
param emailDomain string = ''

@description('Set to true once the DNS records of emailDomain are verified: only then can it be linked.')
param emailDomainVerified bool = false

@description('E-mails a minute and an hour, once Microsoft has raised them for emailDomain. Empty: what it begins with.')
param emailRate string = ''

@description('Telephone numbers that one tenant may hold. Empty: the app\'s default.')
param numbersPerTenant string = ''

@description('Storage and vault reachable through private endpoints only.')
param privateNetwork bool = false

@description('Copies of the data: in three zones of the location, or in one where a location has no zones.')
@allowed(['Standard_ZRS', 'Standard_LRS'])
param redundancy string = 'Standard_ZRS'

@description('Spreads the app\'s instances over zones; keeps two instances ready instead of one.')
param zoneRedundantApp bool = false

@description('Days that log lines are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 90

@description('Whether the rule that cleans logs is there from an earlier deployment; azd remembers the output.')
param logsCleanedBefore bool = false

@description('Forbids deleting the data storage by accident. Set to false only to take a stamp down for good.')
param protect bool = true

@description('Object id of who deploys: may write the vault\'s secrets and run operator commands. Empty: nobody.')
param operatorPrincipalId string = ''

var locations = loadJsonContent('locations.json')
var inRegion = contains(locations[region], location)
// Azure refuses a location of this name and shows it
var place = inRegion ? location : '${location} is not a location of region ${region}: see infra/locations.json'
var tags = { 'azd-env-name': environmentName, 'connector-region': region }

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-${environmentName}'
  location: place
  tags: tags
}

module stamp 'stamp.bicep' = {
  name: 'stamp'
  scope: group
  params: {
    token: uniqueString(subscription().id, environmentName, place)
    region: region
    location: place
    dataLocation: inRegion ? locations[region][location] : ''
    tenants: tenants
    publicUrl: publicUrl
    entraClientId: entraClientId
    smartProviderClientId: smartProviderClientId
    smartPatientClientId: smartPatientClientId
    smartSystemClientId: smartSystemClientId
    ehrAuthentication: ehrAuthentication
    exportableSigningKeys: exportableSigningKeys
    smartScopesVersion: smartScopesVersion
    graphSubscriptionsVersion: graphSubscriptionsVersion
    alertEmails: alertEmails
    emailDomain: emailDomain
    emailDomainVerified: emailDomainVerified
    emailRate: emailRate
    numbersPerTenant: numbersPerTenant
    privateNetwork: privateNetwork
    redundancy: redundancy
    zoneRedundantApp: zoneRedundantApp
    logRetentionDays: logRetentionDays
    logsCleanedBefore: logsCleanedBefore
    protect: protect
    operatorPrincipalId: operatorPrincipalId
    tags: tags
  }
}

output AZURE_RESOURCE_GROUP string = group.name
output CONNECTOR_LOGS_CLEANED bool = true
output CONNECTOR_APP string = stamp.outputs.appName
output CONNECTOR_URL string = stamp.outputs.url
output CONNECTOR_VAULT string = stamp.outputs.vaultName
output CONNECTOR_COMMUNICATION string = stamp.outputs.communicationName
output CONNECTOR_IDENTITY_CLIENT_ID string = stamp.outputs.identityClientId
output CONNECTOR_IDENTITY_PRINCIPAL_ID string = stamp.outputs.identityPrincipalId
