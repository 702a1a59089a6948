// The resources of one stamp in one resource group, wired together.
param token string
param region string
param location string
param dataLocation string
param tenants string
param publicUrl string
param entraClientId string
param smartProviderClientId string
param smartPatientClientId string
param smartSystemClientId string
param ehrAuthentication string
param exportableSigningKeys bool
param smartScopesVersion string
param graphSubscriptionsVersion string
param alertEmails array
param emailDomain string
param emailDomainVerified bool
param emailRate string
param numbersPerTenant string
param privateNetwork bool
param redundancy string
param zoneRedundantApp bool
param logRetentionDays int
param logsCleanedBefore bool
param protect bool
param operatorPrincipalId string
param tags object

// the one identity that the app has: in storage, vault, Communication Services, and as credential of its Entra registration
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'connector-${token}'
  location: location
  tags: tags
}

module monitoring 'monitoring.bicep' = {
  name: 'monitoring'
  params: {
    token: token
    location: location
    retentionDays: logRetentionDays
    cleanedBefore: logsCleanedBefore
    alertEmails: alertEmails
    tags: tags
  }
}

module storage 'storage.bicep' = {
  name: 'storage'
  params: {
    token: token
    region: region
    location: location
    redundancy: redundancy
    privateNetwork: privateNetwork
    protect: protect
    tags: tags
  }
}

module vault 'vault.bicep' = {
  name: 'vault'
  params: {
    token: token
    location: location
    privateNetwork: privateNetwork
    signingKey: ehrAuthentication != 'secret'
    workspaceId: monitoring.outputs.workspaceId
    actionGroupId: monitoring.outputs.actionGroupId
    tags: tags
  }
}

module communication 'communication.bicep' = {
  name: 'communication'
  params: {
    token: token
    dataLocation: dataLocation
    emailDomain: emailDomain
    emailDomainVerified: emailDomainVerified
    emailRate: emailRate
    tags: tags
  }
}

module subnets 'subnets.bicep' = if (privateNetwork) {
  name: 'subnets'
  params: {
    token: token
    location: location
    tags: tags
  }
}

module network 'network.bicep' = if (privateNetwork) {
  name: 'network'
  params: {
    token: token
    location: location
    hostName: storage.outputs.hostName
    dataName: storage.outputs.dataName
    vaultName: vault.outputs.name
    tags: tags
  }
  dependsOn: [subnets]
}

module roles 'roles.bicep' = {
  name: 'roles'
  params: {
    identityPrincipalId: identity.properties.principalId
    operatorPrincipalId: operatorPrincipalId
    hostName: storage.outputs.hostName
    dataName: storage.outputs.dataName
    vaultName: vault.outputs.name
    keyName: vault.outputs.keyName
    communicationName: communication.outputs.name
    insightsName: monitoring.outputs.insightsName
  }
}

module app 'app.bicep' = {
  name: 'app'
  params: {
    token: token
    region: region
    location: location
    identityId: identity.id
    identityClientId: identity.properties.clientId
    hostName: storage.outputs.hostName
    packagesUrl: storage.outputs.packagesUrl
    tableServiceUri: storage.outputs.tableServiceUri
    queueServiceUri: storage.outputs.queueServiceUri
    vaultUri: vault.outputs.uri
    signingKeyAddress: vault.outputs.keyAddress
    communicationEndpoint: communication.outputs.endpoint
    emailSender: communication.outputs.emailSender
    emailRate: communication.outputs.emailRate
    numbersPerTenant: numbersPerTenant
    insightsName: monitoring.outputs.insightsName
    subnetId: privateNetwork ? subnets.outputs.appSubnetId : ''
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
    zoneRedundantApp: zoneRedundantApp
    tags: tags
  }
  dependsOn: [roles, network]
}

module alerts 'alerts.bicep' = {
  name: 'alerts'
  params: {
    region: region
    location: location
    token: token
    workspaceId: monitoring.outputs.workspaceId
    insightsName: monitoring.outputs.insightsName
    actionGroupId: monitoring.outputs.actionGroupId
    healthUrl: app.outputs.healthUrl
    tags: tags
  }
}

output appName string = app.outputs.name
output url string = app.outputs.url
output vaultName string = vault.outputs.name
output communicationName string = communication.outputs.name
output identityClientId string = identity.properties.clientId
output identityPrincipalId string = identity.properties.principalId
