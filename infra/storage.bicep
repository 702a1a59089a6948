// Two storage accounts, apart: what the Functions host writes for itself, and the tenants' data.
param token string
param region string
param location string
param redundancy string
param privateNetwork bool
param protect bool
param tags object

// what the app's code writes to; tests/guards/test_infra.py compares
var queues = ['discover', 'lost', 'meetings', 'numbers', 'send']

var names = ['host${token}', 'data${token}']
var host = 0
var data = 1

resource accounts 'Microsoft.Storage/storageAccounts@2025-01-01' = [
  for name in names: {
    // checkov:skip=CKV_AZURE_35:open to Entra identities with a role only; privateNetwork denies all but private endpoints
    // checkov:skip=CKV_AZURE_206:three zones of one location; a second location may lie outside the tenants' geography
    name: name
    location: location
    tags: tags
    kind: 'StorageV2'
    sku: { name: redundancy }
    properties: {
      accessTier: 'Hot'
      allowBlobPublicAccess: false
      allowCrossTenantReplication: false
      allowSharedKeyAccess: false
      allowedCopyScope: 'AAD'
      defaultToOAuthAuthentication: true
      minimumTlsVersion: 'TLS1_2'
      supportsHttpsTrafficOnly: true
      publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
      networkAcls: {
        bypass: 'None'
        defaultAction: privateNetwork ? 'Deny' : 'Allow'
      }
      encryption: {
        keySource: 'Microsoft.Storage'
        requireInfrastructureEncryption: true
        services: {
          blob: { keyType: 'Account' }
          file: { keyType: 'Account' }
          queue: { keyType: 'Account' }
          table: { keyType: 'Account' }
        }
      }
    }
  }
]

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' = {
  parent: accounts[host]
  name: 'default'
  properties: {
    deleteRetentionPolicy: { enabled: true, days: 14 }
    containerDeleteRetentionPolicy: { enabled: true, days: 14 }
  }
}

resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = {
  parent: blobs
  name: 'packages'
  properties: { publicAccess: 'None' }
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-01-01' = {
  parent: accounts[data]
  name: 'default'
}

resource regionQueues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-01-01' = [
  for queue in queues: {
    parent: queueService
    name: '${queue}-${region}'
  }
]

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (protect) {
  name: 'keep-data'
  scope: accounts[data]
  properties: {
    level: 'CanNotDelete'
    notes: 'Holds opt-outs and the memory of what patients were told: deleting it is for ever.'
  }
}

output hostName string = accounts[host].name
output dataName string = accounts[data].name
output packagesUrl string = '${accounts[host].properties.primaryEndpoints.blob}${packages.name}'
output tableServiceUri string = accounts[data].properties.primaryEndpoints.table
output queueServiceUri string = accounts[data].properties.primaryEndpoints.queue
