// The log workspace; a module of its own, for it is set twice: the rule that cleans its logs must name it first. From the
// second deployment on both settings name the rule, so that no line of a running app passes between them.
param name string
param location string
param retentionDays int
param cleaningRuleId string = ''
param tags object

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: retentionDays
    features: {
      disableLocalAuth: true
      enableLogAccessUsingOnlyResourcePermissions: true
    }
    defaultDataCollectionRuleResourceId: empty(cleaningRuleId) ? null : cleaningRuleId
  }
}

output id string = workspace.id
