// The virtual network of a stamp with private networking: one subnet for the app, one for the endpoints.
param token string
param location string
param tags object

resource open 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {
  name: 'network-${token}'
  location: location
  tags: tags
}

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: 'network-${token}'
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: ['10.90.0.0/22'] }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: '10.90.0.0/24'
          networkSecurityGroup: { id: open.id }
          // Flex Consumption, "Virtual network integration"
          delegations: [{ name: 'app', properties: { serviceName: 'Microsoft.App/environments' } }]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: '10.90.1.0/24'
          networkSecurityGroup: { id: open.id }
          privateEndpointNetworkPolicies: 'Enabled'
        }
      }
    ]
  }
}

output appSubnetId string = '${network.id}/subnets/app'
