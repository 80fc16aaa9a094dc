import type { Kernel } from '../linux/kernel.ts'
import { KVM_EXIT_NAMES } from './abi/exit-reasons.ts'
import { KvmFile } from './files.ts'
import { Kvm, type KvmParameters, type VirtualizingMachine } from './kvm.ts'

/** Module parameters programs read, with their values here. KAPI-136. */
const PARAMETERS: readonly (readonly ['kvm' | 'vendor' | 'intel' | 'amd', string, boolean | number])[] = [
  ['kvm', 'force_emulation_prefix', 0],
  ['kvm', 'ignore_msrs', false],
  ['kvm', 'report_ignored_msrs', true],
  ['kvm', 'enable_pmu', false],
  ['kvm', 'eager_page_split', true],
  ['kvm', 'tdp_mmu', true],
  ['kvm', 'nx_huge_pages', true],
  ['kvm', 'enable_vmware_backdoor', false],
  ['kvm', 'halt_poll_ns', 200000],
  ['intel', 'ept', true],
  ['intel', 'unrestricted_guest', true],
  ['intel', 'allow_smaller_maxphyaddr', false],
  ['amd', 'npt', true],
  ['amd', 'avic', false],
]

/** Loads KVM into a kernel: /dev/kvm and the parameters of `kvm` and `kvm_intel` or `kvm_amd`. */
export function loadKvm(kernel: Kernel, machine: VirtualizingMachine, parameters: KvmParameters = {}): Kvm {
  const kvm = new Kvm(kernel, machine, parameters)
  kernel.costs.exitNames = KVM_EXIT_NAMES
  kernel.registerDevice('/dev/kvm', (_task, flags) => new KvmFile(kvm, flags))
  const vendor = kvm.isAmd ? 'kvm_amd' : 'kvm_intel'
  for (const [where, name, value] of PARAMETERS) {
    if ((where === 'intel' && kvm.isAmd) || (where === 'amd' && !kvm.isAmd)) continue
    kernel.registerModuleParameter(where === 'kvm' ? 'kvm' : vendor, name, () => value)
  }
  // A bool in kvm_intel, an int in kvm_amd.
  const nested = parameters.nested === true
  kernel.registerModuleParameter(vendor, 'nested', () => (kvm.isAmd ? Number(nested) : nested))
  return kvm
}
