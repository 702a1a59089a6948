// The stamp's keys and the EHR applications' secrets. Values are never in a template: docs/operations.md.
// The key that signs for the EHR applications never leaves the vault at all.
param token string
param location string
param privateNetwork bool
param signingKey bool
param workspaceId string
param actionGroupId string
param tags object

var keyName = 'smart'

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  // checkov:skip=CKV_AZURE_109:open to Entra identities with a role only; privateNetwork denies all but private endpoints
  name: 'kv-${token}'
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: privateNetwork ? 'Deny' : 'Allow'
    }
  }
}

// made once; a later deployment leaves its versions as they are (Keys, "Create If Not Exist")
resource key 'Microsoft.KeyVault/vaults/keys@2024-11-01' = if (signingKey) {
  // checkov:skip=CKV_AZURE_40:an expired key signs nothing, so its date would be an outage; docs/operations.md says when to rotate
  // checkov:skip=CKV_AZURE_112:non-exportable in a standard vault; HSM keys need a premium one
  parent: vault
  name: keyName
  tags: tags
  properties: {
    kty: 'EC'
    curveName: 'P-384'
    keyOps: ['sign']
    attributes: {
      enabled: true
      exportable: false
    }
  }
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'audit', enabled: true }]
  }
}

// a secret with an expiry date says so thirty days ahead, and once it has expired
resource events 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: 'vault-${token}'
  location: location
  tags: tags
  properties: {
    source: vault.id
    topicType: 'Microsoft.KeyVault.vaults'
  }
}

resource expiry 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: events
  name: 'expiring'
  properties: {
    eventDeliverySchema: 'CloudEventSchemaV1_0'
    destination: {
      endpointType: 'MonitorAlert'
      properties: {
        severity: 'Sev1'
        description: 'A secret, key or certificate of the stamp is about to expire, or has: docs/operations.md, "Rotating".'
        actionGroups: [actionGroupId]
      }
    }
    filter: {
      includedEventTypes: [
        'Microsoft.KeyVault.SecretNearExpiry'
        'Microsoft.KeyVault.SecretExpired'
        'Microsoft.KeyVault.KeyNearExpiry'
        'Microsoft.KeyVault.KeyExpired'
        'Microsoft.KeyVault.CertificateNearExpiry'
        'Microsoft.KeyVault.CertificateExpired'
      ]
    }
  }
}

output name string = vault.name
output uri string = vault.properties.vaultUri
output keyName string = signingKey ? keyName : ''
output keyAddress string = signingKey ? '${vault.properties.vaultUri}keys/${keyName}' : ''
