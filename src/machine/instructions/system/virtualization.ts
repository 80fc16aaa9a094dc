import { EXIT_REASON_VMCALL, EXIT_REASON_VMCLEAR } from '../../exits.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { i32 } from '../../translate/expr.ts'
import { undefinedOpcode } from './outcome.ts'

/** VMCALL exits from a guest on Intel, VMMCALL on AMD; the other one, and either outside a guest, is #UD. */
registerCallOut('vmcall', (p, _ctx, amd) => {
  const native = (p.machine.model.vendor === 'AuthenticAMD') === (amd !== 0)
  if (p.vmcs === null || !native) return undefinedOpcode(p, 'VMCALL or VMMCALL without a hypervisor of that vendor')
  return p.vmExit(EXIT_REASON_VMCALL)
})
/** VMX and SVM instructions: KVM answers #UD when the guest has no nested virtualization. Argument: exit reason. */
registerCallOut('vmx-instruction', (p, _ctx, reason) =>
  p.vmcs === null ? undefinedOpcode(p, 'VMX operation is off') : p.vmExit(reason),
)

define('VMCALL', (s) => s.callOut('vmcall'))
define('VMMCALL', (s) => s.callOut('vmcall', i32(1)))
const VMX = ['VMCLEAR', 'VMLAUNCH', 'VMPTRLD', 'VMPTRST', 'VMREAD', 'VMRESUME', 'VMWRITE', 'VMXOFF', 'VMXON']
VMX.forEach((name, i) => {
  define(name, (s) => s.callOut('vmx-instruction', i32(EXIT_REASON_VMCLEAR + i)))
})
