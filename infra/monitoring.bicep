// Logs in the region, without addresses: what a line could carry of one is removed before it is stored.
param token string
param location string
param retentionDays int
param alertEmails array
param tags object

var workspaceName = 'logs-${token}'
// request telemetry would hold paths, and paths hold patients' links; dependencies would hold vendors' addresses
var noRow = 'source | where false'
var noAddress = '@\'(https?:/)?/[^\\s"]+\''

module workspace 'workspace.bicep' = {
  name: 'workspace'
  params: {
    name: workspaceName
    location: location
    retentionDays: retentionDays
    tags: tags
  }
}

resource cleaning 'Microsoft.Insights/dataCollectionRules@2023-03-11' = {
  name: 'clean-${token}'
  location: location
  tags: tags
  kind: 'WorkspaceTransforms'
  properties: {
    destinations: {
      logAnalytics: [{ name: 'workspace', workspaceResourceId: workspace.outputs.id }]
    }
    dataFlows: [
      {
        streams: ['Microsoft-Table-AppRequests']
        destinations: ['workspace']
        transformKql: noRow
      }
      {
        streams: ['Microsoft-Table-AppDependencies']
        destinations: ['workspace']
        transformKql: noRow
      }
      {
        streams: ['Microsoft-Table-AppTraces']
        destinations: ['workspace']
        transformKql: 'source | extend Message = replace_regex(Message, ${noAddress}, \'?\') | extend Properties = parse_json(replace_regex(tostring(Properties), ${noAddress}, \'?\'))'
      }
      {
        // texts of unexpected errors are not ours to vouch for: type and place stay
        streams: ['Microsoft-Table-AppExceptions']
        destinations: ['workspace']
        transformKql: 'source | extend OuterMessage = \'\', InnermostMessage = \'\', Details = parse_json(\'[]\'), Properties = parse_json(\'{}\')'
      }
    ]
  }
}

module cleanedWorkspace 'workspace.bicep' = {
  name: 'workspace-cleaned'
  params: {
    name: workspaceName
    location: location
    retentionDays: retentionDays
    cleaningRuleId: cleaning.id
    tags: tags
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'insights-${token}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: cleanedWorkspace.outputs.id
    DisableLocalAuth: true
  }
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'people-${token}'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'connector'
    emailReceivers: [
      for (address, index) in alertEmails: {
        name: 'person-${index}'
        emailAddress: trim(address)
        useCommonAlertSchema: true
      }
    ]
  }
}

output workspaceId string = cleanedWorkspace.outputs.id
output insightsName string = insights.name
output actionGroupId string = people.id
