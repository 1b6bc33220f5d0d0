"""Objects of schema ``sona`` by kind; a revision that creates or drops one must update this list.

``tests/store/test_check.py`` compares it with a fresh database.
"""

from __future__ import annotations

INVENTORY = {
    "table": """
        acts adapters api_keys batches candidate_contents candidate_sets candidates cycles
        daily_decisions daily_figures erasures feedback feedback_rest fisher_snapshots
        idempotent_requests imported_ids leases memory_edges memory_nodes memory_standing pattern_names pattern_routes
        pattern_uses patterns route_statistics schema_revision sealed_weeks servers set_aside
        shared_trajectories space_names space_roles space_settings spaces staged_versions
        state_arrays state_versions steps steps_rest summary_days summary_progress telemetry_ids
        trajectories trajectories_rest version_contents version_gates version_patterns version_tasks
    """,
    "view": """
        adapter_norms audit_log budgets catalog cycle_changes cycle_log decisions dream_edges erasure_log
        failed_cycles feedback_sources figures fleet forgetting_by_task gates graph_hubs growth imported
        labels latest_feedback learning
        learning_curve learning_gaps next_patterns off_policy outcomes
        pattern_summary quality_by_day quality_by_server quality_by_space route_leaderboard
        routes_by_pattern store_size topics users versions waiting_feedback
    """,
    "function": """
        additive_effects apply_adapter apply_base_lora apply_micro_lora best_routes best_routes_of
        best_routes_of_topics candidates_offered
        change_parts communities cycle_facts daily_sums day_of days_of
        decision_figures_between diff doubles_of ensure_dimension ensure_partitions
        evaluate_policies figures_between find_patterns first_id guard_partition hierarchy hubs
        judged_between judged_of judged_topics last_cut last_id level_edges level_spread mark_batch mean_interval
        name_topic nearest_nodes neighborhood neighbors
        pattern_cycles pattern_drift pattern_seasons pattern_trajectories patterns_at quality_by_label
        quality_by_parameter
        quality_changes quantile route_changes
        reals_of record_feedback record_trajectory require_space require_vector routes_between
        routes_not_offered routes_on_like_questions
        serves_from similar_trajectories sizes_of spell_score touched_days uuid_floor uuid_time version_cycles weight_at
    """,
    "index": """
        acts_by_time acts_pkey adapters_pkey api_keys_pkey batches_by_cycle batches_by_time
        batches_of_sql batches_pkey batches_unlearned candidate_contents_pkey candidate_sets_pkey
        candidates_changed candidates_in_order candidates_new candidates_pkey candidates_retired
        candidates_space_id_slot_key cycles_by_start cycles_pkey daily_decisions_pkey
        daily_figures_pkey erasures_pkey feedback_batch feedback_pkey feedback_rest_pkey
        feedback_rest_space_id_batch_idx fisher_snapshots_pkey idempotent_requests_by_time
        idempotent_requests_pkey imported_ids_by_id imported_ids_pkey
        leases_pkey memory_edges_abstract memory_edges_back
        memory_edges_dreamt memory_edges_pkey memory_nodes_of_candidates memory_nodes_of_kind
        memory_nodes_pkey memory_nodes_waiting memory_standing_by_community
        memory_standing_by_strength memory_standing_pkey pattern_names_pkey pattern_routes_pkey pattern_uses_pkey
        patterns_pkey route_statistics_pkey schema_revision_pkc sealed_weeks_pkey servers_pkey
        set_aside_pkey shared_trajectories_by_time shared_trajectories_pkey space_names_pkey
        space_names_space_id_key space_roles_by_role space_roles_pkey space_settings_pkey
        spaces_by_name spaces_pkey staged_versions_pkey state_arrays_pkey state_versions_pkey
        steps_pkey steps_rest_pkey summary_days_pkey summary_progress_pkey telemetry_ids_by_time
        telemetry_ids_pkey trajectories_pkey trajectories_rest_pkey version_contents_pkey
        version_gates_open version_gates_pkey version_patterns_pkey version_tasks_pkey
    """,
    "constraint": """
        acts.acts_act_check acts.acts_pkey acts.acts_space_id_check adapters.adapters_check
        adapters.adapters_dim_check adapters.adapters_kind_check adapters.adapters_layer_check
        adapters.adapters_pkey adapters.adapters_rank_check adapters.adapters_space_id_version_fkey
        api_keys.api_keys_hash_check api_keys.api_keys_name_check api_keys.api_keys_pkey
        api_keys.api_keys_scopes_check api_keys.api_keys_space_id_fkey
        batches.batches_feedback_check batches.batches_pkey batches.batches_steps_check
        batches.batches_trajectories_check candidate_contents.candidate_contents_candidate_id_check
        candidate_contents.candidate_contents_content_check
        candidate_contents.candidate_contents_pkey
        candidate_contents.candidate_contents_space_id_fkey candidate_sets.candidate_sets_pkey
        candidates.candidates_candidate_id_check candidates.candidates_pkey
        candidates.candidates_slot_check candidates.candidates_space_id_fkey
        candidates.candidates_space_id_slot_key cycles.cycles_loop_check cycles.cycles_pkey
        cycles.cycles_space_id_fkey daily_decisions.daily_decisions_pkey
        daily_decisions.daily_decisions_space_id_fkey daily_figures.daily_figures_check
        daily_figures.daily_figures_kind_check daily_figures.daily_figures_pkey
        daily_figures.daily_figures_space_id_fkey erasures.erasures_check
        erasures.erasures_first_version_check erasures.erasures_hashes_check
        erasures.erasures_kind_check erasures.erasures_late_check erasures.erasures_phase_check
        erasures.erasures_pkey erasures.erasures_space_id_fkey feedback.feedback_correction_check
        feedback.feedback_paid_check feedback.feedback_pkey feedback.feedback_quality_check
        feedback.feedback_source_check feedback_rest.feedback_correction_check
        feedback_rest.feedback_paid_check feedback_rest.feedback_quality_check
        feedback_rest.feedback_rest_pkey feedback_rest.feedback_source_check
        fisher_snapshots.fisher_snapshots_check fisher_snapshots.fisher_snapshots_kind_check
        fisher_snapshots.fisher_snapshots_layer_check fisher_snapshots.fisher_snapshots_pkey
        fisher_snapshots.fisher_snapshots_space_id_fkey fisher_snapshots.fisher_snapshots_task_check
        idempotent_requests.idempotent_requests_key_check
        idempotent_requests.idempotent_requests_pkey
        idempotent_requests.idempotent_requests_space_id_fkey
        imported_ids.imported_ids_imported_id_check imported_ids.imported_ids_pkey
        imported_ids.imported_ids_space_id_fkey leases.leases_epoch_check
        leases.leases_pkey leases.leases_role_check leases.leases_space_id_fkey
        memory_edges.memory_edges_check memory_edges.memory_edges_kind_check
        memory_edges.memory_edges_pkey memory_edges.memory_edges_space_id_fkey
        memory_edges.memory_edges_weight_check memory_nodes.memory_nodes_access_count_check
        memory_nodes.memory_nodes_check memory_nodes.memory_nodes_importance_check
        memory_nodes.memory_nodes_kind_check memory_nodes.memory_nodes_pkey
        memory_nodes.memory_nodes_space_id_fkey memory_standing.memory_standing_community_check
        memory_standing.memory_standing_pkey memory_standing.memory_standing_space_id_fkey
        memory_standing.memory_standing_strength_check
        pattern_names.pattern_names_name_check pattern_names.pattern_names_pkey
        pattern_names.pattern_names_space_id_fkey
        pattern_routes.pattern_routes_failure_count_check
        pattern_routes.pattern_routes_partial_count_check pattern_routes.pattern_routes_pkey
        pattern_routes.pattern_routes_quality_check
        pattern_routes.pattern_routes_recovered_count_check pattern_routes.pattern_routes_size_check
        pattern_routes.pattern_routes_space_id_fkey
        pattern_routes.pattern_routes_success_count_check pattern_routes.pattern_routes_weight_check
        pattern_uses.pattern_uses_access_count_check pattern_uses.pattern_uses_pkey
        pattern_uses.pattern_uses_space_id_fkey patterns.patterns_centroid_check
        patterns.patterns_check patterns.patterns_check1 patterns.patterns_failure_count_check
        patterns.patterns_kind_check patterns.patterns_partial_count_check patterns.patterns_pkey
        patterns.patterns_quality_check patterns.patterns_recovered_count_check
        patterns.patterns_size_check patterns.patterns_space_id_fkey
        patterns.patterns_success_count_check patterns.patterns_weight_check
        route_statistics.route_statistics_latency_us_check route_statistics.route_statistics_pkey
        route_statistics.route_statistics_quality_check
        route_statistics.route_statistics_quality_variance_check
        route_statistics.route_statistics_size_check route_statistics.route_statistics_space_id_fkey
        schema_revision.schema_revision_pkc sealed_weeks.sealed_weeks_check
        sealed_weeks.sealed_weeks_check1 sealed_weeks.sealed_weeks_pkey
        sealed_weeks.sealed_weeks_trajectories_check servers.servers_pkey
        servers.servers_space_id_fkey set_aside.set_aside_pkey
        shared_trajectories.shared_trajectories_part_check
        shared_trajectories.shared_trajectories_pkey
        shared_trajectories.shared_trajectories_space_id_fkey space_names.space_names_name_check
        space_names.space_names_pkey space_names.space_names_space_id_key
        space_roles.space_roles_pkey space_roles.space_roles_space_id_check
        space_settings.space_settings_from_version_check space_settings.space_settings_pkey
        space_settings.space_settings_settings_check space_settings.space_settings_space_id_fkey
        spaces.spaces_budget_check spaces.spaces_budget_per_check spaces.spaces_dim_check
        spaces.spaces_live_version_check spaces.spaces_keep_weeks_check
        spaces.spaces_pkey staged_versions.staged_versions_pkey
        staged_versions.staged_versions_space_id_version_fkey state_arrays.state_arrays_pkey
        state_arrays.state_arrays_space_id_version_fkey state_versions.state_versions_check
        state_versions.state_versions_format_check state_versions.state_versions_origin_check
        state_versions.state_versions_pkey state_versions.state_versions_space_id_fkey
        state_versions.state_versions_status_check state_versions.state_versions_version_check
        steps.steps_offset_us_check steps.steps_ordinal_check steps.steps_pkey
        steps.steps_reward_check steps_rest.steps_offset_us_check steps_rest.steps_ordinal_check
        steps_rest.steps_rest_pkey steps_rest.steps_reward_check summary_days.summary_days_pkey
        summary_days.summary_days_space_id_fkey summary_days.summary_days_took_ms_check
        summary_progress.summary_progress_pkey summary_progress.summary_progress_space_id_fkey
        telemetry_ids.telemetry_ids_key_check telemetry_ids.telemetry_ids_pkey
        telemetry_ids.telemetry_ids_space_id_fkey trajectories.trajectories_cost_check
        trajectories.trajectories_embedding_check trajectories.trajectories_latency_us_check
        trajectories.trajectories_paid_check trajectories.trajectories_parameters_check
        trajectories.trajectories_pkey trajectories.trajectories_propensity_check
        trajectories.trajectories_quality_check trajectories.trajectories_route_check
        trajectories.trajectories_step_count_check trajectories_rest.trajectories_cost_check
        trajectories_rest.trajectories_embedding_check
        trajectories_rest.trajectories_latency_us_check trajectories_rest.trajectories_paid_check
        trajectories_rest.trajectories_parameters_check
        trajectories_rest.trajectories_propensity_check trajectories_rest.trajectories_quality_check
        trajectories_rest.trajectories_rest_pkey trajectories_rest.trajectories_route_check
        trajectories_rest.trajectories_step_count_check
        version_contents.version_contents_patterns_check version_contents.version_contents_pkey
        version_contents.version_contents_space_id_version_fkey
        version_gates.version_gates_confidence_check version_gates.version_gates_decisions_check
        version_gates.version_gates_differing_check version_gates.version_gates_judgement_check
        version_gates.version_gates_margin_check version_gates.version_gates_mode_check
        version_gates.version_gates_most_decisions_check version_gates.version_gates_pkey
        version_gates.version_gates_share_check
        version_gates.version_gates_reference_check
        version_gates.version_gates_space_id_version_fkey version_patterns.version_patterns_pkey
        version_patterns.version_patterns_space_id_version_fkey
        version_tasks.version_tasks_layer_check version_tasks.version_tasks_pkey
        version_tasks.version_tasks_space_id_fkey version_tasks.version_tasks_task_check
    """,
}
