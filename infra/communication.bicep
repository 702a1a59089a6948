// Azure Communication Services and its e-mail, with all data at rest in the region's geography.
param token string
param dataLocation string
param emailDomain string
param emailDomainVerified bool
param emailRate string
param tags object

var azureDomain = empty(emailDomain)
var senderName = 'appointments'

resource email 'Microsoft.Communication/emailServices@2025-05-01' = {
  name: 'mail-${token}'
  location: 'global'
  tags: tags
  properties: { dataLocation: dataLocation }
}

resource domain 'Microsoft.Communication/emailServices/domains@2025-05-01' = {
  parent: email
  name: azureDomain ? 'AzureManagedDomain' : emailDomain
  location: 'global'
  tags: tags
  properties: {
    domainManagement: azureDomain ? 'AzureManaged' : 'CustomerManaged'
    userEngagementTracking: 'Disabled'
  }
}

resource sender 'Microsoft.Communication/emailServices/domains/senderUsernames@2025-05-01' = if (!azureDomain && emailDomainVerified) {
  parent: domain
  name: senderName
  properties: {
    username: senderName
    displayName: 'Appointments'
  }
}

resource communication 'Microsoft.Communication/communicationServices@2025-05-01' = {
  name: 'acs-${token}'
  location: 'global'
  tags: tags
  properties: {
    dataLocation: dataLocation
    linkedDomains: azureDomain || emailDomainVerified ? [domain.id] : []
    disableLocalAuth: true
  }
}

output name string = communication.name
output endpoint string = 'https://${communication.properties.hostName}'
var ownSender = emailDomainVerified ? '${senderName}@${emailDomain}' : ''
output emailSender string = azureDomain ? 'DoNotReply@${domain.properties.fromSenderDomain}' : ownSender
// "Service limits": what a domain of Azure's, and a new one of your own, may send a minute and an hour
output emailRate string = !empty(emailRate) ? emailRate : azureDomain ? '5/10' : '30/100'
