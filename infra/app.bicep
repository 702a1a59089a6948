// The Functions app on Flex Consumption, and every setting that it reads.
param token string
param region string
param location string
param identityId string
param identityClientId string
param hostName string
param packagesUrl string
param tableServiceUri string
param queueServiceUri string
param vaultUri string
param signingKeyAddress string
param communicationEndpoint string
param emailSender string
param emailRate string
param numbersPerTenant string
param insightsName string
param subnetId string
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
param zoneRedundantApp bool
param tags object

var prefix = toUpper(region)
var inVault = '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets'
// one thread a request: the size of the pool is what an instance may be given at a time
var threads = 32

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  // checkov:skip=CKV_AZURE_225:zoneRedundantApp decides; it doubles what is always paid for
  name: 'plan-${token}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { tier: 'FlexConsumption', name: 'FC1' }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundantApp
  }
}

resource app 'Microsoft.Web/sites@2024-11-01' = {
  // checkov:skip=CKV_AZURE_222:patients open their links from anywhere
  // checkov:skip=CKV_AZURE_17:patients' and clinicians' browsers have no certificates
  // checkov:skip=CKV_AZURE_212:Flex Consumption scales by itself and replaces instances; zoneRedundantApp keeps two
  // checkov:skip=CKV_AZURE_213:Flex Consumption has no health check; alerts.bicep asks /health from three places
  name: 'connector-${token}'
  location: location
  tags: union(tags, { 'azd-service-name': 'connector' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packagesUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: { name: 'python', version: '3.13' }
      scaleAndConcurrency: {
        // every group scales by itself: HTTP, and each queue function
        maximumInstanceCount: 40
        instanceMemoryMB: 2048
        alwaysReady: [{ name: 'http', instanceCount: zoneRedundantApp ? 2 : 1 }]
        triggers: { http: { perInstanceConcurrency: threads } }
      }
    }
  }

  // identities only: no publishing password
  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }
  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }

  resource settings 'config' = {
    // checkov:skip=CKV_AZURE_13:a list of settings, not the resource "web"; every route proves its caller (docs/security.md)
    // checkov:skip=CKV_AZURE_63:a list of settings; request logs would hold patients' links
    // checkov:skip=CKV_AZURE_65:a list of settings; error pages come from the app
    // checkov:skip=CKV_AZURE_66:a list of settings; traces of requests would hold patients' links
    // checkov:skip=CKV_AZURE_80:a list of settings, and no .NET
    // checkov:skip=CKV_AZURE_88:a list of settings; the app writes no files
    // checkov:skip=CKV_AZURE_222:a list of settings
    name: 'appsettings'
    properties: union(
      always,
      ehrAuthentication == 'key' ? {} : bySecret,
      ehrAuthentication == 'secret' ? {} : byKey,
      exportableSigningKeys ? byExportableKey : {}
    )
  }
}

var url = empty(publicUrl) ? 'https://${app.properties.defaultHostName}' : publicUrl
var always = {
  AzureWebJobsStorage__accountName: hostName
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  AzureWebJobsDisableHomepage: 'true'
  PYTHON_THREADPOOL_THREAD_COUNT: string(threads)
  FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '4194304'
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  CONNECTOR_ENVIRONMENT: 'production'
  CONNECTOR_PUBLIC_URL: url
  CONNECTOR_REGIONS: region
  CONNECTOR_TENANTS: tenants
  CONNECTOR_NUMBERS_PER_TENANT: numbersPerTenant
  CONNECTOR_SEALING_KEYS: '${inVault}/connector-sealing-keys)'
  CONNECTOR_WRAPPING_KEYS: '${inVault}/connector-wrapping-keys)'
  ENTRA_AUTHORITY: environment().authentication.loginEndpoint
  ENTRA_CLIENT_ID: entraClientId
  ENTRA_IDENTITY_CLIENT_ID: identityClientId
  GRAPH_URL: 'https://graph.microsoft.com'
  GRAPH_SUBSCRIPTIONS_VERSION: graphSubscriptionsVersion
  GRAPH_NOTIFICATION_CERTIFICATES: '${inVault}/graph-notification-certificates)'
  SMART_PROVIDER_CLIENT_ID: smartProviderClientId
  SMART_PATIENT_CLIENT_ID: smartPatientClientId
  SMART_SYSTEM_CLIENT_ID: smartSystemClientId
  SMART_SCOPES_VERSION: smartScopesVersion
  '${prefix}_STORAGE__tableServiceUri': tableServiceUri
  '${prefix}_STORAGE__queueServiceUri': queueServiceUri
  '${prefix}_STORAGE__credential': 'managedidentity'
  '${prefix}_STORAGE__clientId': identityClientId
  '${prefix}_COMMUNICATION_ENDPOINT': communicationEndpoint
  '${prefix}_EMAIL_SENDER': emailSender
  '${prefix}_EMAIL_RATE': emailRate
}
var bySecret = {
  SMART_PROVIDER_CLIENT_SECRET: '${inVault}/smart-provider-client-secret)'
  SMART_PATIENT_CLIENT_SECRET: '${inVault}/smart-patient-client-secret)'
  SMART_SYSTEM_CLIENT_SECRET: '${inVault}/smart-system-client-secret)'
}
var byKey = { SMART_VAULT_KEY: signingKeyAddress }
// private keys that can be copied: they sign until the vault's own key is a day old, or where there is none
var byExportableKey = { SMART_PRIVATE_KEYS: '${inVault}/smart-private-keys)' }

output name string = app.name
output url string = url
// by the name that patients use, so that the end of its certificate is seen
output healthUrl string = '${url}/health'
