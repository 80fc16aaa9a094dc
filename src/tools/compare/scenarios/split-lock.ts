import { HLT, makeVmm, out } from '../guest.ts'
import type { CompareScenario } from '../scenario.ts'

/** Split-lock detection for guests: review of "[PATCH v8 4/4] kvm: vmx: virtualize split lock detection", 2020. */
const DOCUMENT = 'split-lock virtualization (review of v8, 2020)'
const V8 = 'proposal:sld-virt-v8'
const V10 = 'proposal:sld-virt-v10'
const SPLIT = 0x10_3ffe
/** lock incl SPLIT(absolute) */
const LOCK = [0xf0, 0xff, 0x04, 0x25, ...[0, 8, 16, 24].map((shift) => (SPLIT >> shift) & 0xff)]

export const splitLockScenarios: readonly CompareScenario[] = (['warn', 'fatal', 'off'] as const).map((mode) => ({
  name: `guest-split-lock-${mode}`,
  title: `a guest takes a split lock on a host with split_lock_detect=${mode}`,
  document: DOCUMENT,
  profiles: ['linux-5.17', 'linux-6.12', V8, V10],
  cpu: 'SapphireRapids',
  run: (lab) => {
    const host = lab.host({ splitLockDetect: mode })
    const { vcpu, process } = makeVmm(host, { code: [...LOCK, ...out(0x80, 1), ...HLT] })
    lab.step('KVM_GET_MSRS MSR_TEST_CTRL', () => vcpu.readMsr(0x33))
    lab.step('KVM_GET_MSRS MSR_IA32_CORE_CAPS', () => vcpu.readMsr(0xcf))
    const before = host.kernel.clock.now
    lab.step(
      'KVM_RUN',
      () => vcpu.run({ maxInstructions: 100 }),
      (exit) => (exit.reason === 'exception' ? `exception ${exit.exception}` : exit.reason),
    )
    lab.note('milliseconds lost', Math.floor((host.kernel.clock.now - before) / 1e6))
    lab.note(
      'signals to the VMM',
      process
        .takeSignals()
        .map(({ signal, code }) => `signal ${signal} si_code ${code}`)
        .join() || 'none',
    )
    const said = host.kernel.log.lines.filter((line) => line.includes('split_lock trap')).length
    lab.note('lines in the kernel log', said)
  },
}))
