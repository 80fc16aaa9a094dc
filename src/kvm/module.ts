import { MSR_IA32_S_CET } from '../isa/msr-index.ts'
import { UserError } from '../isa/user-error.ts'
import type { Kernel } from '../linux/kernel.ts'
import { CET_SH_STK_EN } from '../machine/cet.ts'
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

/** Guests are entered with the host's IA32_S_CET of now and no shadow stack of its own behind it: a host that uses one is refused. */
function refuseHostShadowStacks({ model, profile, cpus }: Kernel): void {
  if (!profile.cet.offeredToGuests || !model.has('shstk')) return
  if ((cpus[0].processor.rdmsr(MSR_IA32_S_CET) & BigInt(CET_SH_STK_EN)) === 0n) return
  const vendor = model.vendor === 'AuthenticAMD' ? 'kvm_amd' : 'kvm_intel'
  throw new UserError({
    code: 'EIO',
    what: `loading ${vendor}`,
    where: 'the host kernel',
    because: 'the host itself runs with supervisor shadow stacks: IA32_S_CET.SH_STK_EN is set (CET-23)',
    fix: 'clear IA32_S_CET before KVM is loaded',
  })
}

/** Loads KVM into a kernel: /dev/kvm and the parameters of `kvm` and `kvm_intel` or `kvm_amd`. @throws UserError for what modprobe fails with */
export function loadKvm(kernel: Kernel, machine: VirtualizingMachine, parameters: KvmParameters = {}): Kvm {
  refuseHostShadowStacks(kernel)
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
