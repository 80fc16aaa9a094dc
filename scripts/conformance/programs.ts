/** A test program of the kernel's tree, by the name of its make target. */
export interface Program {
  suite: string
  name: string
  /** What it says of the parts that it leaves out on this model, and passes without. Any other part left out is a skip. */
  leavesOut?: readonly string[]
}

/** Every program that has to pass, in the order in which the model grew able to run them. */
export const EXPECTED_TO_PASS: readonly Program[] = [
  { suite: 'x86', name: 'sigaltstack_64' },
  { suite: 'kvm', name: 'get_msr_index_features' },
  { suite: 'kvm', name: 'set_sregs_test' },
  { suite: 'kvm', name: 'userspace_io_test' },
  { suite: 'kvm', name: 'cpuid_test' },
  { suite: 'kvm', name: 'cr4_cpuid_sync_test' },
  { suite: 'kvm', name: 'xcr0_cpuid_test' },
  { suite: 'kvm', name: 'xss_msr_test' },
  { suite: 'kvm', name: 'state_test' },
  { suite: 'kvm', name: 'amx_test' },
  { suite: 'x86', name: 'corrupt_xstate_header_64' },
  { suite: 'x86', name: 'amx_64' },
  {
    suite: 'x86',
    name: 'test_shadow_stack_64',
    leavesOut: ['[SKIP]\tUserfaultfd unavailable.', '[SKIP]\tUretprobe test, uprobes are not available'],
  },
]
