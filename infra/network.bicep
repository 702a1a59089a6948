// Optional: the app reaches storage and vault through private endpoints, and nobody else reaches them.
// Communication Services, Entra, Graph and the EHR are public services and have none.
param token string
param location string
param hostName string
param dataName string
param vaultName string
param tags object

resource host 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: hostName
}

resource data 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: dataName
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

var suffix = environment().suffixes.storage
var zones = [
  'privatelink.blob.${suffix}'
  'privatelink.queue.${suffix}'
  'privatelink.table.${suffix}'
  'privatelink.vaultcore.azure.net'
]
var endpoints = [
  { name: 'host-blob', target: host.id, part: 'blob', zone: 0 }
  { name: 'host-queue', target: host.id, part: 'queue', zone: 1 }
  { name: 'host-table', target: host.id, part: 'table', zone: 2 }
  { name: 'data-queue', target: data.id, part: 'queue', zone: 1 }
  { name: 'data-table', target: data.id, part: 'table', zone: 2 }
  { name: 'vault', target: vault.id, part: 'vault', zone: 3 }
]

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' existing = {
  name: 'network-${token}'
}

resource privateZones 'Microsoft.Network/privateDnsZones@2020-06-01' = [
  for zone in zones: {
    name: zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2020-06-01' = [
  for (zone, index) in zones: {
    parent: privateZones[index]
    name: 'stamp'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: { id: network.id }
    }
  }
]

resource privateEndpoints 'Microsoft.Network/privateEndpoints@2024-05-01' = [
  for one in endpoints: {
    name: '${one.name}-${token}'
    location: location
    tags: tags
    properties: {
      subnet: { id: '${network.id}/subnets/endpoints' }
      privateLinkServiceConnections: [
        {
          name: one.name
          properties: {
            privateLinkServiceId: one.target
            groupIds: [one.part]
          }
        }
      ]
    }
  }
]

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = [
  for (one, index) in endpoints: {
    parent: privateEndpoints[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [{ name: one.name, properties: { privateDnsZoneId: privateZones[one.zone].id } }]
    }
  }
]
